// people.js URL OUTBOX PICTURES: somebody in a browser without JavaScript subscribes, chooses and
// leaves. Prints the addresses of the pages that were seen.
const fs = require('fs'), path = require('path');
const { launch } = require(process.env.JUDGES + '/lib/browser.js');
const [site, outbox, pictures] = process.argv.slice(2);

// The links in the newest message to an address.
const links = (to, after) => {
  const mails = fs.readdirSync(outbox).map(name => fs.readFileSync(path.join(outbox, name), 'utf8')).filter(mail => mail.includes(`To: ${to}`) && !after.includes(mail));
  if (!mails.length) return null;
  const text = mails[0].replace(/=\r?\n/g, '').replace(/=([0-9A-F]{2})/g, (_, code) => String.fromCharCode(parseInt(code, 16)));
  after.push(mails[0]);
  return [...new Set(text.match(/http:\/\/127\.0\.0\.1[^\s"<>]+/g))].map(link => link.replace(/&amp;/g, '&'));
};
const soon = async look => {
  for (let n = 0; n < 100; n++) { const found = look(); if (found) return found; await new Promise(done => setTimeout(done, 100)); }
  throw new Error('nothing came');
};
const seen = [], mails = [];
(async () => {
  const browser = await launch();
  const context = await browser.newContext({ javaScriptEnabled: false, locale: 'fr-FR', viewport: { width: 360, height: 800 } });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  const outside = [];
  page.on('request', request => { if (!request.url().startsWith(site)) outside.push(request.url()); });
  const show = async name => { seen.push(page.url()); await page.screenshot({ path: path.join(pictures, name + '.png'), fullPage: true }); };
  const says = async text => { const main = await page.textContent('main'); if (!main.includes(text)) throw new Error(`no "${text}" at ${page.url()}: ${main}`); };

  await page.goto(site);
  await page.click('text=Recevoir un message avant les clôtures');
  await show('form');
  await page.fill('#email', 'nope');
  await page.click('button');
  await says('Recevoir un message'); // The browser itself minds.
  await page.fill('#email', 'zoe@example.org');
  await page.check('input[name=domain] >> nth=0');
  await page.check('input[value=weekly]');
  await page.selectOption('select[name=weekday]', 'Tue');
  await page.check('input[name=new]');
  await page.click('button');
  await says('Regardez vos messages');
  await show('asked');
  const [confirm] = (await soon(() => links('zoe@example.org', mails))).filter(link => link.includes('/confirm?'));
  await page.goto(confirm);
  await show('confirm');
  await page.click('button');
  await says('Vous êtes abonné');
  await show('confirmed');
  await page.click('text=Choisir ce que vous recevez');
  await show('preferences');
  if (!await page.isChecked('input[name=domain] >> nth=0') || !await page.isChecked('input[value=weekly]')) throw new Error('the choice is lost');
  await page.check('input[value=daily]');
  await page.selectOption('#language', 'en');
  await page.click('button');
  await says('enregistré');
  await page.click('text=Ce que vous recevez');
  if (!await page.isChecked('input[value=daily]')) throw new Error('the change is lost');
  await page.click('text=Se désabonner');
  await says('Se désabonner');
  await show('unsubscribe');
  await page.click('button');
  await says('Vous êtes désabonné');
  await show('unsubscribed');
  // Somebody else asks, for a page to confirm at that others can look at: the first link has done its work.
  await page.goto(seen[0]);
  await page.fill('#email', 'emma@example.org');
  await page.click('button');
  await says('Regardez vos messages');
  const [again] = (await soon(() => links('emma@example.org', mails))).filter(link => link.includes('/confirm?'));
  seen[seen.indexOf(confirm)] = again;
  await page.goto(site + 'nothing');
  seen.push(page.url());
  const english = await (await browser.newContext({ javaScriptEnabled: false, locale: 'en-GB' })).newPage();
  await english.goto(seen[0]);
  if (!(await english.textContent('main')).includes('Your email address')) throw new Error('no English');
  const cookies = await context.cookies();
  if (cookies.length || outside.length) throw new Error(`cookies ${cookies.length}, elsewhere ${outside}`);
  await browser.close();
  console.log(seen.join('\n'));
})().catch(error => { console.error(error.message); process.exit(1); });
